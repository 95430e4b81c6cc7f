"""Groups, projects, subjects, sessions, acquisitions and files."""
