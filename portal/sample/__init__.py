"""`portal up --sample`: a site with sample data, which comes in and goes out once through every interface."""
