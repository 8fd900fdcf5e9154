-- Bulk orders act on schedules, due items and deliveries, too.
alter table bulk_orders
    drop constraint if exists bulk_orders_action_known,
    add constraint bulk_orders_action_known check (
        action in (
            'replay', 'inquire', 'void', 'refund', 'lift', 'withdraw', 'pause_schedules', 'resume_schedules', 'end_schedules', 'recover',
            'waive', 'redeliver'
        )
    );
