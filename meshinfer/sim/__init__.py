"""The shipped simulator: real schedulers, real records and real wire bytes on virtual time and a hostile network."""
