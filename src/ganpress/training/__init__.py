"""Training loops: teachers by their papers' recipes, and the distillation that methods share."""
