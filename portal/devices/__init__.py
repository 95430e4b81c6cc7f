"""The first tab of Interfaces: machines that use the REST interface, and their keys."""
