"""The command line, one file per command. Importing it imports neither a framework nor onnx."""
