import { Client, type PolicyEvent } from '@placet/client';
import { type Item, ItemKind } from '@placet/client/v1';
import { tell, toldOf, untilInputEnds } from './lines.js';

/** Tells every event until standard input ends, or there will be no more. */
export async function subscribe(target: string, tenant: string): Promise<void> {
  using client = new Client(target, tenant);
  await using subscription = client.subscribe({
    onBreak: (error, waitMs) =>
      console.error(`driver: stream broke: ${error.message} - next in ${Math.round(waitMs)} ms`),
  });
  untilInputEnds().addEventListener('abort', () => subscription.close());
  try {
    for await (const event of subscription) {
      tell(lineOf(event));
    }
  } catch (error) {
    const { code, reason, message } = toldOf(error);
    tell({ event: 'failed', code, reason, message });
  }
}

function lineOf(event: PolicyEvent): object {
  switch (event.type) {
    case 'snapshot':
      return {
        event: event.type,
        revision: Number(event.revision),
        policies: idsOf(event.items).sort(),
      };
    case 'delta': {
      const removals = event.removals
        .filter(({ key }) => key?.kind === ItemKind.POLICY)
        .map(({ key }) => key?.id);
      const upserts = idsOf(event.upserts);
      return { event: event.type, revision: Number(event.revision), upserts, removals };
    }
    case 'reset':
      return { event: event.type, reason: event.reason };
    case 'resumed':
      return { event: event.type, revision: Number(event.revision) };
  }
}

function idsOf(items: readonly Item[]): string[] {
  return items.flatMap(({ body }) => (body.case === 'policy' ? [body.value.id] : []));
}
