-- Who is in a group now, the longest there first, and the groups that somebody is in. A change of members looks only at
-- these, however many memberships have ended. `until` is there so that the table itself is not looked at.
CREATE INDEX membership_of_group_now ON membership (grp, since, member, until) WHERE until IS NULL;
CREATE INDEX membership_of_member_now ON membership (member, grp, until) WHERE until IS NULL;
