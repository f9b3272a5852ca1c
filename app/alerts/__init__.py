"""Messages to people's own programs when something dies or comes back: the section `alerts`."""
