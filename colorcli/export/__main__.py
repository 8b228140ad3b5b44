"""``python -m colorcli.export WEIGHTS TARGET``: the export that ``open_model`` starts when a run needs an ONNX copy."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from colorcli.errors import ColorcliError
from colorcli.export.exporter import ExportOptions, export
from colorcli.registry.registry import find


def main(weights: str, target: str) -> int:
    """Export a model; a failure is one sentence on stderr and its exit code."""
    # Unwinding removes the temporary file.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        export(find(weights), Path(target), ExportOptions(overwrite=True))
    except ColorcliError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
