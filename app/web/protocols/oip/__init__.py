"""The Open Inference Protocol, version 2: what clients of Triton, KServe and OpenVINO Model Server speak."""
