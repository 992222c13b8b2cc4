#!/bin/sh
# Sets up what tests/bundle/programs/test_arm64.py needs, in the directory $1: an ARM64 Python of Debian 12 with ONNX Runtime's
# own aarch64 wheel, and qemu's user-mode emulator of Debian 13 (that of Debian 12 ends ONNX Runtime's import with a
# segmentation fault). Needs apt-get, dpkg-deb and pip; no root, nothing is installed on this machine. 250 MB.
set -eu
mkdir -p "$1" && cd "$1"
place=$(pwd)

# apt on a state of its own: $1 release, $2 architecture, then packages; unpacked into the directory $1-$2.
unpack() {
    state="$place/apt-$1-$2" && root="$place/$1-$2" && suite="$1" && architecture="$2" && shift 2
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/debs" "$root"
    : >"$state/status"
    key=/usr/share/keyrings/debian-archive-keyring.gpg
    echo "deb [signed-by=$key] ${DEBIAN_MIRROR:-http://deb.debian.org/debian} $suite main" >"$state/sources.list"
    cat >"$state/conf" <<CONF
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; };
APT::Sandbox::User "";
Dir::State "$state";
Dir::State::status "$state/status";
Dir::Cache "$state/cache";
Dir::Etc::sourcelist "$state/sources.list";
Dir::Etc::sourceparts "-";
CONF
    export APT_CONFIG="$state/conf"
    apt-get -qq update
    (cd "$state/debs" && apt-get -qq download "$@")
    for package in "$state"/debs/*.deb; do dpkg-deb -x "$package" "$root"; done
    unset APT_CONFIG
    rm -rf "$state"
}

unpack trixie "$(dpkg --print-architecture)" qemu-user
unpack bookworm arm64 libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libffi8 liblzma5 libbz2-1.0 libssl3 \
    python3.11-minimal libpython3.11-minimal libpython3.11-stdlib
"${PYTHON:-python3}" -m pip install -q --no-deps --only-binary=:all: --target site --python-version 311 \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 \
    onnxruntime 'numpy<2.3'
cat >python <<RUN
#!/bin/sh
export PYTHONHOME="$place/bookworm-arm64/usr" PYTHONPATH="$place/site"
exec "$place/trixie-$(dpkg --print-architecture)/usr/bin/qemu-aarch64" -L "$place/bookworm-arm64" \\
    "$place/bookworm-arm64/usr/bin/python3.11" "\$@"
RUN
chmod 755 python
./python -c 'import platform, onnxruntime; print(platform.machine(), "ONNX Runtime", onnxruntime.__version__)' 2>/dev/null
