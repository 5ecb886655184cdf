import { timestampDate } from '@bufbuild/protobuf/wkt';
import { PlacetError } from './errors.js';
import { type Item, type ItemKey, ItemKind } from './stubs/placet/v1/policy_pb.js';
import type {
  Removal,
  SnapshotEnd,
  SubscribeResponse,
  Delta as WireDelta,
} from './stubs/placet/v1/subscribe_service_pb.js';
import type { EntityUid } from './stubs/placet/v1/value_pb.js';
import { EntityRef } from './values.js';

/** The whole set. It replaces all that came before. */
export interface Snapshot {
  readonly type: 'snapshot';
  readonly revision: bigint;
  readonly items: readonly Item[];
}

/** The changes that lead from one revision to the next: make all of them or none. */
export interface Delta {
  readonly type: 'delta';
  readonly fromRevision: bigint;
  readonly revision: bigint;
  readonly upserts: readonly Item[];
  readonly removals: readonly Removal[];
  /** When the revision was committed, by the server's clock. */
  readonly commitTime: Date | undefined;
}

/** Sums of digests are taken modulo 2^256. */
const BITS = 256;

/** A snapshot of which not everything is there yet. */
interface Incoming {
  readonly revision: bigint;
  readonly expected: bigint;
  readonly items: Item[];
}

/**
 * What a subscriber knows of the set it follows: enough to tell that the stream brought all of it, and
 * not the items themselves, which are the reader's. @internal
 */
export class PolicySet {
  #digests = new Map<string, bigint>();
  #checksum = 0n;
  #incoming: Incoming | undefined;
  /** That of what is held. */
  revision = 0n;
  /** Where a stream goes on; empty: with a snapshot. */
  cursor: Uint8Array = new Uint8Array();
  /** Whether there ever was a whole snapshot. */
  has = false;
  /** Whether the stream goes on from what is held. */
  following = false;

  /** Expects a stream that goes on at the cursor; half a snapshot of another is dropped. */
  beginStream(): void {
    this.#incoming = undefined;
    this.following = this.cursor.length > 0;
  }

  /** Has the next stream begin with a snapshot. */
  forgetCursor(): void {
    this.cursor = new Uint8Array();
  }

  /** Takes a message, and returns the event that it completes. Throws for what does not fit. */
  apply({ event }: SubscribeResponse): Snapshot | Delta | undefined {
    switch (event.case) {
      case 'snapshotBegin': {
        if (this.#incoming !== undefined) {
          throw broken('a snapshot began within another');
        }
        this.following = false;
        const { revision, items } = event.value;
        this.#incoming = { revision, expected: items, items: [] };
        return undefined;
      }
      case 'snapshotChunk':
        if (this.#incoming === undefined) {
          throw broken('part of a snapshot came before its beginning');
        }
        for (const item of event.value.items) {
          this.#incoming.items.push(item);
        }
        return undefined;
      case 'snapshotEnd':
        return this.#complete(event.value);
      case 'delta':
        return this.#advance(event.value);
      case 'heartbeat':
        if (event.value.cursor.length > 0 && this.following) {
          this.cursor = event.value.cursor;
        }
    }
    return undefined;
  }

  #complete(end: SnapshotEnd): Snapshot {
    const incoming = this.#incoming;
    this.#incoming = undefined;
    if (incoming === undefined) {
      throw broken('a snapshot ended that had not begun');
    }
    const { items, revision, expected } = incoming;
    if (revision !== end.revision || expected !== BigInt(items.length)) {
      throw broken(
        `the snapshot announced ${expected} items at revision ${revision} and came to ${items.length} at ${end.revision}`,
      );
    }
    const digests = new Map<string, bigint>();
    let checksum = 0n;
    for (const item of items) {
      const name = nameOf(item);
      if (digests.has(name)) {
        throw broken(`the snapshot has \`${name}\` twice`);
      }
      const digest = numberOf(item.digest);
      digests.set(name, digest);
      checksum += digest;
    }
    checksum = BigInt.asUintN(BITS, checksum);
    if (checksum !== numberOf(end.checksum)) {
      throw broken("the snapshot's checksum is not that of its items");
    }
    this.#digests = digests;
    this.#checksum = checksum;
    this.has = true;
    this.following = true;
    this.revision = revision;
    this.cursor = end.cursor;
    return { type: 'snapshot', revision, items };
  }

  #advance(delta: WireDelta): Delta {
    const { fromRevision, toRevision: revision } = delta;
    if (!this.following) {
      throw broken('changes came before the snapshot they apply to');
    }
    if (fromRevision !== this.revision || revision < fromRevision) {
      throw broken(
        `changes from revision ${fromRevision} to ${revision} came where those from ${this.revision} on were due`,
      );
    }
    let checksum = this.#checksum;
    const upserts: Item[] = [];
    const removals: Removal[] = [];
    // Changes are gathered, and made once all of them are known to fit.
    const changed = new Map<string, bigint | undefined>();
    const change = (name: string, digest: bigint | undefined) => {
      const before = changed.has(name) ? changed.get(name) : this.#digests.get(name);
      if (before === undefined && digest === undefined) {
        throw broken(`\`${name}\` was removed, which was not there`);
      }
      checksum += (digest ?? 0n) - (before ?? 0n);
      changed.set(name, digest);
    };
    for (const each of delta.changes) {
      if (each.change.case === 'upsert') {
        const item = each.change.value;
        change(nameOf(item), numberOf(item.digest));
        upserts.push(item);
      } else if (each.change.case === 'removal') {
        const removal = each.change.value;
        change(nameOfKey(removal.owner, removal.key), undefined);
        removals.push(removal);
      } else {
        throw broken('a change came that is neither new nor gone');
      }
    }
    checksum = BigInt.asUintN(BITS, checksum);
    if (checksum !== numberOf(delta.checksum)) {
      throw broken(`the checksum at revision ${revision} is not that of the items held`);
    }
    for (const [name, digest] of changed) {
      if (digest === undefined) {
        this.#digests.delete(name);
      } else {
        this.#digests.set(name, digest);
      }
    }
    this.#checksum = checksum;
    this.revision = revision;
    this.cursor = delta.cursor;
    const commitTime = delta.commitTime && timestampDate(delta.commitTime);
    return { type: 'delta', fromRevision, revision, upserts, removals, commitTime };
  }
}

/** Returns the error that a message does not fit what is held; a new snapshot repairs it. */
function broken(what: string): PlacetError {
  return new PlacetError('DATA_LOSS', `${what}; asking for a new snapshot`, {
    reason: 'SUBSCRIPTION_BROKEN',
  });
}

function numberOf(digest: Uint8Array): bigint {
  return BigInt(`0x0${Buffer.from(digest).toString('hex')}`);
}

/** Returns a name that tells an item from all others, and a person what it is. */
function nameOf({ owner, body, digest }: Item): string {
  switch (body.case) {
    case 'policy':
      return named(owner, ItemKind.POLICY, body.value.id);
    case 'templateLink':
      return named(owner, ItemKind.TEMPLATE_LINK, body.value.id);
    case 'entity':
      return named(owner, ItemKind.ENTITY, '', body.value.uid);
    case 'schema':
      return named(owner, ItemKind.SCHEMA);
    case 'settings':
      return named(owner, ItemKind.SETTINGS);
    case 'rollout':
      return named(owner, ItemKind.ROLLOUT);
    case 'candidate':
      return named(owner, ItemKind.CANDIDATE);
    case 'placement':
      return named(owner, ItemKind.PLACEMENT, body.value.name);
    case 'nodeSettings':
      return named(owner, ItemKind.NODE_SETTINGS, body.value.node);
    default:
      // Of a newer server: all that is known of it tells it from others.
      return named(owner, ItemKind.UNSPECIFIED, Buffer.from(digest).toString('hex'));
  }
}

function nameOfKey(owner: string, key: ItemKey | undefined): string {
  return named(owner, key?.kind ?? ItemKind.UNSPECIFIED, key?.id, key?.entity);
}

function named(owner: string, kind: ItemKind, id = '', entity?: EntityUid): string {
  const name = entity === undefined ? id : new EntityRef(entity.type, entity.id).toString();
  return JSON.stringify([owner, ItemKind[kind] ?? kind, name]);
}
