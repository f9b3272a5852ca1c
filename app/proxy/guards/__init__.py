"""Who may enter, how often, and how many at once: looked at once a route is found."""
