"""The option matrix: command lines as data, each run by the compiler and through a node, and compared."""
