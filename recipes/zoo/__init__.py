"""What goes into zoo/: files, cards and the page of all."""
