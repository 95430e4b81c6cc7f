"""The fast path of DIMSE: PDUs and commands by hand, one thread an association, one system call a message."""
