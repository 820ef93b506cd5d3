"""From repositories to dual-regime training data: tasks that were verified, samples whose mode was earned."""
