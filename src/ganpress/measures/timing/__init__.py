"""Time of exported files and of torch, each candidate in a process of its own, all in turn."""
