"""The wire types and services, generated from `protos/placet/v1`: do not edit."""
