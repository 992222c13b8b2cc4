"""A trained encoder of text against fp32 in ONNX Runtime and NNCF with OpenVINO."""
