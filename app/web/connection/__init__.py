"""What happens on a connection before a request is one."""
