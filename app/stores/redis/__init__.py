"""Routes in Redis or Valkey."""
