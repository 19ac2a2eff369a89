"""The evaluation: suites, scores by row, intervals, and the verdict that follows by rule."""
