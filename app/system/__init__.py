"""What the machine and the interpreter give: files, shared memory, the loop, the collector."""
