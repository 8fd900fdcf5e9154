-- What a mandate is compared by: tether_core.mandates decides, this finds the rows to look at.
create function mandate_key(mandate_id text) returns bigint
language sql immutable strict parallel safe
return hashtextextended(
    trim(
        both '-' from regexp_replace(
            regexp_replace(
                case
                    when mandate_id ~ '^[0-9][0-9., '']*[.,]00?$' then regexp_replace(mandate_id, '[.,]00?$', '')
                    else lower(mandate_id)
                end,
                '[^a-z0-9]+', '-', 'g'
            ),
            '(^|[^0-9])0+(?=[0-9])', '\1', 'g'
        )
    ),
    0
);
