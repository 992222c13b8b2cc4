"""``python -m compress``."""

import os
import sys

# Python puts the working directory first on its path here: a file of it could stand in for any module.
if not sys.flags.safe_path and sys.path[:1] in ([""], [os.getcwd()]):  # noqa: PTH109 - pathlib is such a module
    here = sys.path.pop(0)
    from pathlib import Path

    if Path(__file__).resolve().parents[1] == Path(here).resolve():
        sys.path.append(here)  # run from a checkout of compress itself

from compress.cli import main

sys.exit(main())
