"""The wire types and services, generated from `server/protos/placet_server/xds/v3`: do not edit."""
