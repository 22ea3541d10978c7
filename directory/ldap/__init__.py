"""The directory in an LDAP server; the only package that imports ldap3."""

from directory.ldap.service import LdapDirectory as LdapDirectory
