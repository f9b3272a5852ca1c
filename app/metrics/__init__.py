"""The numbers that workers count: each worker writes its own, any of them shows all."""
