"""The Open Inference Protocol over gRPC: each call is a request to the app, so that all limits are the same."""
