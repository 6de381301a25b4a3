"""HTTP: requests are checked here, and answers get their shape."""
