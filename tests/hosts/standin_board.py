"""A stand-in for a Jetson: a real sshd on the loopback interface, in a home of its own, with stand-ins for its tools.

The connection is real, and so are the shell, the files and the lock. ``trtexec``, ``tegrastats``, ``nvpmodel`` and
``nvidia-smi`` are stand-ins (:mod:`tests.hosts.standin.trtexec`), so no time here is one of a board.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
OPTIONS = HERE.parent / "backends" / "trtexec_options"
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

RELEASE_TEXT = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 2025\n"
)
TEGRASTATS = (
    "01-08-2025 12:00:00 RAM 3012/7620MB (lfb 8x4MB) SWAP 0/3810MB (cached 0MB) CPU [12%@1510,3%@1510] "
    "EMC_FREQ 3%@2133 GR3D_FREQ 99%@[{clock}] VIC_FREQ 0% cpu@48.5C soc2@47C gpu@51.2C tj@{hot}C "
    "VDD_IN 6120mW/5987mW VDD_CPU_GPU_CV 1500mW/1400mW VDD_SOC 1400mW/1390mW"
)


#: Answers ``-q``, ``-p --verbose`` and ``-m ID``. With the fault ``restart`` mode 3 asks for one; with ``password``
#: none can be set.
NVPMODEL = """
name() { case $1 in 0) echo 15W;; 1) echo 25W;; 2) echo MAXN_SUPER;; 3) echo 7W;; *) return 1;; esac; }
case $1 in
-p) for i in 0 1 2 3; do echo "NVPM VERB: POWER_MODEL: ID=$i NAME=$(name $i)"; done ;;
-m) grep -q password "$COMPRESS_STANDIN/fault" && { echo "sudo: a password is required"; exit 1; }
  if [ "$2" = 3 ] && grep -q restart "$COMPRESS_STANDIN/fault"; then
    echo "NVPM WARN: Reboot required for changing to this power mode: $2"; exit 0; fi
  printf "NV Power Mode: %s\\n%s\\n" "$(name "$2")" "$2" >"$COMPRESS_STANDIN/power" ;;
*) cat "$COMPRESS_STANDIN/power" 2>/dev/null || printf "NV Power Mode: 15W\\n0\\n" ;;
esac"""


@dataclass
class StandInBoard:
    """A running stand-in.

    Attributes:
        home: Its home directory.
        play: What its tools read: see :mod:`tests.hosts.standin.trtexec`.
        ssh: The client's command that knows its key and its host key.
        daemon: Its sshd.
    """

    home: Path
    play: Path
    ssh: str
    daemon: subprocess.Popen[bytes]

    @property
    def cache(self) -> Path:
        return self.home / ".cache" / "compress"

    def release(self, release: str) -> None:
        """Play a TensorRT release."""
        (self.play / "release").write_text(release)
        shutil.copy(OPTIONS / f"{release}.txt", self.play / "options")

    def fault(self, *lines: str) -> None:
        """Play faults; see the stand-in."""
        (self.play / "fault").write_text("\n".join(lines))

    def free_memory(self, mebibytes: int) -> None:
        path = self.play / "root" / "proc" / "meminfo"
        path.write_text(f"MemTotal:        7802880 kB\nMemAvailable:    {1024 * mebibytes} kB\n")

    @contextmanager
    def small_disk(self, kilobytes: int) -> Iterator[None]:
        """A file system of this size, in memory, where it keeps engines: it really runs full.

        Skips the test where this user may not mount one.
        """
        self.cache.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(self.cache)]
        if subprocess.run(mount, capture_output=True, timeout=60, check=False).returncode != 0:
            self.cache.rmdir()
            pytest.skip("needs the right to mount a file system (root)")
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", str(self.cache)], check=True, timeout=60)
            shutil.rmtree(self.cache)

    def become_jetson(self) -> None:
        """Play an Orin Nano, as it does from the start."""
        for each in (self.play / "root", self.play / "bin"):
            shutil.rmtree(each)
        _tools(self.play)

    def become_server(self, power_fields: tuple[str, ...] = ("power.draw.instant", "power.draw")) -> None:
        """Play a server with an H100 instead, whose driver knows these fields of power."""
        self.become_jetson()
        for tool in ("nvpmodel", "tegrastats"):
            (self.play / "bin" / tool).unlink()
        for place in ("proc/device-tree", "sys", "etc"):
            shutil.rmtree(self.play / "root" / place)
        known = " ".join(power_fields)
        python = f'exec {shlex.quote(sys.executable)} {HERE / "standin" / "nvidia_smi.py"} "{known}" "$@"'
        _program(self.play, "nvidia-smi", python)

    def connections(self) -> list[int]:
        """Processes of its open connections."""
        pid = self.daemon.pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def refuse(self) -> None:
        """Let nobody in any more."""
        (self.home.parent / "keys" / "authorized").write_text("")

    def admit(self) -> None:
        """Let the user in again."""
        keys = self.home.parent / "keys"
        (keys / "authorized").write_text((keys / "user.pub").read_text())

    def drop(self) -> None:
        """End every connection."""
        for pid in self.connections():
            os.kill(pid, 9)


def start(directory: Path) -> StandInBoard:
    """Start one below ``directory``; skips the test where there is no sshd."""
    if SSHD is None or shutil.which("ssh") is None:
        pytest.skip("needs OpenSSH's sshd and ssh (apt install openssh-server openssh-client)")
    home, play, keys = (directory / name for name in ("home", "play", "keys"))
    for each in (home, play, keys):
        each.mkdir(parents=True)
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)], check=True, timeout=60
        )
    (keys / "authorized").write_text((keys / "user.pub").read_text())
    _tools(play)
    port = _free_port()
    path = f"{play / 'bin'}:{os.environ['PATH']}"
    variables = {"HOME": home, "PATH": path, "COMPRESS_STANDIN": play, "COMPRESS_BOARD_ROOT": play / "root"}
    config = directory / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {keys / 'host'}\nPidFile none\n"
        f"AuthorizedKeysFile {keys / 'authorized'}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        f"KbdInteractiveAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n"
        f"SetEnv {' '.join(f'{key}={value}' for key, value in variables.items())}\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd will not start as root without it.
    log = (directory / "sshd.log").open("wb")
    daemon = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=log, stdin=subprocess.DEVNULL)
    (play / "sshd.pid").write_text(str(daemon.pid))
    (keys / "known").write_text(f"[127.0.0.1]:{port} {(keys / 'host.pub').read_text()}")
    (directory / "ssh_config").write_text(
        f"Host board\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {keys / 'user'}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {keys / 'known'}\n  StrictHostKeyChecking yes\n"
    )
    _wait(port, daemon, directory / "sshd.log")
    board = StandInBoard(home, play, f"ssh -F {shlex.quote(str(directory / 'ssh_config'))}", daemon)
    board.release("10.3")
    return board


def _tools(play: Path) -> None:
    """Stand-ins for the board's programs and for what its kernel tells."""
    (play / "bin").mkdir(exist_ok=True)
    root = play / "root"
    gpu = root / "sys/class/devfreq/17000000.gpu"
    zone = root / "sys/class/thermal/thermal_zone0"
    for each in (gpu, zone, root / "proc/device-tree", root / "etc"):
        each.mkdir(parents=True)
    (root / "proc/device-tree/model").write_bytes(
        b"NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0"
    )
    (root / "etc/nv_tegra_release").write_text(RELEASE_TEXT)
    (root / "proc/meminfo").write_text("MemTotal:        7802880 kB\nMemAvailable:    5242880 kB\n")
    for name, value in (("cur_freq", "306000000"), ("max_freq", "1020000000"), ("min_freq", "306000000")):
        (gpu / name).write_text(value + "\n")
    (zone / "type").write_text("tj-thermal\n")
    (zone / "temp").write_text("48500\n")
    _program(play, "trtexec", f'exec {shlex.quote(sys.executable)} {HERE / "standin" / "trtexec.py"} "$@"')
    _program(play, "nvpmodel", NVPMODEL)
    _program(play, "jetson_clocks", 'echo "$*" >>"$COMPRESS_STANDIN/clocks"')
    usual, hot = TEGRASTATS.format(clock=918, hot=52.1), TEGRASTATS.format(clock=306, hot=98.5)
    _program(
        play,
        "tegrastats",
        f'while true; do echo "{usual}" >>"$4"; '
        f'grep -q throttle "$COMPRESS_STANDIN/fault" 2>/dev/null && echo "{hot}" >>"$4"; sleep 0.1; done',
    )


def _program(play: Path, name: str, text: str) -> None:
    path = play / "bin" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait(port: int, daemon: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if daemon.poll() is not None:
            pytest.skip(f"sshd does not start here: {log.read_text()[-300:]}")
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.skip("sshd does not listen")
