"""Routes in a text file."""
