"""The run folder: settings, card, stages that resume, files that are whole or not there."""
