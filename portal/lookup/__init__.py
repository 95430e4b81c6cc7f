"""Things found by a path of labels, and lists narrowed by a filter."""
