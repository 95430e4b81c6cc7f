"""The third tab of Interfaces: external storages that an admin named, their credentials, tests and history."""
