"""Two proxies on one Redis while all around them breaks: is anybody hurt who should not be?

`__main__` conducts, `site` is what runs, `clients` the visitors of the tenants that are well
and of the one that is not, `faults` what happens.
"""
