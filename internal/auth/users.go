package auth

import (
	"fmt"
	"slices"
)

// AddUser makes an entry of the token file for a person who logs in at the page
// by name and password. The file is made if there is none; a name that stands in
// it is refused, and so are the roles of programs. When AddUser returns the file
// is on disk.
func AddUser(path string, p Principal, password string) error {
	hashed, err := hashPassword(password)
	if err != nil {
		return err
	}
	if p.Has(RoleIngest, RoleExecutor) {
		return fmt.Errorf("roles %s and %s are for programs; give those a token: agentrail token new", RoleIngest, RoleExecutor)
	}
	return change(path, func(entries []entry) ([]entry, error) {
		if index(entries, p.Name) >= 0 {
			return nil, fmt.Errorf("principal %q is there already; set its password with: agentrail user passwd", p.Name)
		}
		return append(entries, entry{Name: p.Name, Tenant: p.Tenant, Roles: p.Roles, Password: hashed}), nil
	})
}

// SetPassword gives a principal of the token file another password, or its
// first. Sessions that stand on the old one end when the server reads the file.
func SetPassword(path, name, password string) error {
	hashed, err := hashPassword(password)
	if err != nil {
		return err
	}
	return change(path, func(entries []entry) ([]entry, error) {
		i := index(entries, name)
		if i < 0 {
			return nil, fmt.Errorf("there is no principal %q; make one with: agentrail user add", name)
		}
		entries[i].Password = hashed
		return entries, nil
	})
}

func index(entries []entry, name string) int {
	return slices.IndexFunc(entries, func(e entry) bool { return e.Name == name })
}
