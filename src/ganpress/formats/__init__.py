"""Files of other programs: checkpoints read (importers), models written (exporters),
exported files run (runtimes)."""
