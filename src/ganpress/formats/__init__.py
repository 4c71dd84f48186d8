"""Files of other programs: checkpoints read (importers), models written (exporters)."""
