"""The command line: one file for each group of verbs; each verb calls one public function."""
