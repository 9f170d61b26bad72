"""One file each: an architecture, an operator, a data set, an attack; and a folder of models."""
