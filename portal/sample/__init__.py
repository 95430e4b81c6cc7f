"""`portal up --sample`: a site with something in it, made by going once through every way in and out."""
