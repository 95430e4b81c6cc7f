"""`portal up --sample`: a site with sample data, which is received and sent once through each interface."""
