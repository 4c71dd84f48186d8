"""Time of exported files in the programs that run them: measured, and predicted from widths."""
