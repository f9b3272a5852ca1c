"""The dashboard: pages for a browser on the admin listener.

`dashboard` answers its paths, `visits` says who may see them, `views` and `site_list` what each
page shows, `pace` how fast things go, `live` tells open pages what has changed, `route_steps` what
a form changes. The pages are Jinja templates in `templates/dashboard/`. Nothing of it is loaded
before somebody opens a page.
"""
