"""any2onnx: scikit-learn, Keras 3 and PyTorch models to ONNX, proved numerically the same."""
