"""What the tests share: real servers, real clients, other addresses."""
