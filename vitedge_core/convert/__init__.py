"""A model in the form that another runtime reads: ONNX with the recipe's own scales, OpenVINO's graph, plain floats."""
