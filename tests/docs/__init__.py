"""The pages: their blocks run, their links lead somewhere, and the site is built."""
