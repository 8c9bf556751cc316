"""``python -m any2onnx``: the command line."""

from __future__ import annotations

from any2onnx.cli.main import main

if __name__ == "__main__":
    main()
